{ print "Grüße, " $0 "!" }
END { exit 3 }
