read -r a b
read -r word
echo $((a + b))
echo "$word→ok"
