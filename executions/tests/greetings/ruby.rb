name = gets.chomp
puts "Grüße, #{name}!"
exit 3
