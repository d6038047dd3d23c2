# Redirect, copy, move and link over what is not ours.
nonce=$1
try() { if "$@" 2>/dev/null; then echo "ACHIEVED $*"; fi; }
IFS=: read -ra parents <<<"$2"
for parent in "${parents[@]}"; do
  try cp /bin/true "$parent/suite-$nonce"
  try touch "$parent/bait.h"
  try ln -s /bin/true "$parent/suite-link-$nonce"
  if (echo spoilt >>"$parent/bait.h") 2>/dev/null; then echo "ACHIEVED >> $parent"; fi
done
for file in /etc/passwd /etc/hosts /etc/ld.so.cache /usr/bin/env /etc/resolv.conf; do
  if (: >>"$file") 2>/dev/null; then echo "ACHIEVED >> $file"; fi
  try chmod a+w "$file"
done
try mkdir "/suite-$nonce" "/usr/suite-$nonce" "/etc/suite-$nonce"
try mknod "sda-$nonce" b 8 0
echo DONE
