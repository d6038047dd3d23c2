require "json"
require "set"
puts JSON.generate({ "a" => [1, 2, nil], "ü" => true })
puts (1..10).each_slice(3).map(&:sum).inspect
puts Thread.new { 6 * 7 }.value
puts `echo child`
puts IO.popen("cat", "r+") { |pipe| pipe.write("through"); pipe.close_write; pipe.read }
