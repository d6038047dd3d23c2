program Main;
var
  a, b: integer;
  word: string;
begin
  readln(a, b);
  readln(word);
  writeln(a + b);
  writeln(word + '→ok');
end.
