use strict;
use warnings;
chomp(my $name = <STDIN>);
print "Grüße, $name!\n";
exit 3;
