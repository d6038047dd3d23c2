puts "Grüße, [gets stdin]!"
exit 3
