lassign [split [gets stdin]] a b
set word [gets stdin]
puts [expr {$a + $b}]
puts "$word→ok"
