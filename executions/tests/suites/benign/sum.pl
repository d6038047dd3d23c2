my ($a, $b) = split ' ', <STDIN>;
my $word = <STDIN>; chomp $word;
print $a + $b, "\n", $word, "→ok\n";
