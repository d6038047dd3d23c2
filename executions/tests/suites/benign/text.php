<?php
echo json_encode(["a" => [1, 2, null], "u" => "ü"], JSON_UNESCAPED_UNICODE), "\n";
echo array_sum(range(1, 100)), " ", trim(shell_exec("echo child")), "\n";
file_put_contents("/tmp/file", str_repeat("x", 1000));
echo filesize("/tmp/file"), " ", preg_match('/^\p{L}+$/u', "größe"), "\n";
