# Eight writers at once, all in the background of a dead parent.
for i in 1 2 3 4 5 6 7 8; do yes flood & done
wait
