use strict; use warnings; use utf8; use File::Temp; use List::Util qw(sum);
binmode STDOUT, ":utf8";
my %count; $count{$_}++ for split //, "hällo";
print join(",", map { "$_$count{$_}" } sort keys %count), "\n";
print sum(1 .. 100), " ", `echo child`;
my $file = File::Temp->new; print $file "text"; close $file; print -s $file->filename, "\n";
