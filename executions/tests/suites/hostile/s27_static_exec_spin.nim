# Spins while compiling.
const text = staticExec("while :; do :; done")
echo "ACHIEVED ", text
