<?php
[$a, $b] = array_map('intval', explode(' ', fgets(STDIN)));
$word = trim(fgets(STDIN));
echo $a + $b, "\n", $word, "→ok\n";
