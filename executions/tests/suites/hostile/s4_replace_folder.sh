# Replace the own folder by a link to the host's, while the program still stands in it.
here=$PWD
target=${1%%:*}
cd / && mv "$here" "$here.old" 2>/dev/null && echo moved
ln -s "$target" "$here" 2>/dev/null && echo linked
rm -rf /tmp/* 2>/dev/null
ln -sfn "$target" /tmp/link
echo DONE
