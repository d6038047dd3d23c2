with Ada.Command_Line;
with Ada.Text_IO;

procedure Greet is
   Name : constant String := Ada.Text_IO.Get_Line;
begin
   Ada.Text_IO.Put_Line ("Grüße, " & Name & "!");
   Ada.Command_Line.Set_Exit_Status (3);
end Greet;
