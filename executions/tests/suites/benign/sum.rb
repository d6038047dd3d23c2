a, b = gets.split.map(&:to_i)
word = gets.chomp
puts a + b
puts "#{word}→ok"
