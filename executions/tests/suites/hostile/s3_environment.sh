# The environment as a shell and its children see it.
env | sed 's/^/mine /'
cat /proc/*/environ 2>/dev/null | tr '\0' '\n'
echo DONE
