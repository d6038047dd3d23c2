# Pipes, substitution, here-documents, process substitution, traps, arrays, jobs.
set -euo pipefail
trap 'echo leaving' EXIT
printf '%s\n' pear apple fig | sort | head -1
diff <(echo same) <(echo same) && echo equal
cat <<TEXT | wc -l
one
two
TEXT
numbers=(1 2 3)
echo "${#numbers[@]} $((16#ff)) ${HOME:0:1}"
sleep 0.1 & wait $! && echo waited
tmp=$(mktemp) && echo kept >"$tmp" && cat "$tmp" && rm "$tmp"
seq 100 | xargs -P 4 -n 10 echo | wc -w
find / -maxdepth 1 -name usr 2>/dev/null
awk 'BEGIN { print 6 * 7 }'
