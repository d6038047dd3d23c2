<?php
$name = trim(fgets(STDIN));
echo "Grüße, $name!\n";
exit(3);
