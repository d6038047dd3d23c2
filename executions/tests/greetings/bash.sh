read -r name
echo "Grüße, $name!"
exit 3
