program greeting;
var
  name: string;
begin
  readln(name);
  writeln('Grüße, ', name, '!');
  halt(3);
end.
