# More processes than the limit, but never at the same time.
count=0
for i in $(seq 150); do
  /bin/true && count=$((count + 1))
done
echo "$count"
