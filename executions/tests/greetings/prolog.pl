main :-
    read_line_to_string(user_input, Name),
    format("Grüße, ~w!~n", [Name]),
    halt(3).
