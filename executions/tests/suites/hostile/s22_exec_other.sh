# Become another program, and let that one fail.
exec perl -e 'print "ok\n"; exit 6'
