let name = stdin.readLine()
echo "Grüße, ", name, "!"
quit(3)
