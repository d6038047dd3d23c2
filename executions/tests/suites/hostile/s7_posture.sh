while read -r line; do echo "$line"; done </proc/self/status
echo DONE
