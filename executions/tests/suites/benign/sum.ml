let () =
  Scanf.scanf " %d %d %s" (fun a b word ->
    print_endline (string_of_int (a + b));
    print_endline (word ^ "→ok"))
