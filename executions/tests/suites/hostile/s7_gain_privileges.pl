# Ids through perl's own variables.
$< = 0; $> = 0; $( = 0; $) = "0 0";
print(($< == 0 || $> == 0) ? "ACHIEVED root\n" : "denied\n");
print "DONE\n";
