-module(greeting).
-export([main/0]).

main() ->
    Name = string:trim(io:get_line("")),
    io:format("Grüße, ~ts!~n", [Name]),
    halt(3).
