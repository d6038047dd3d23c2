import System.Exit

main :: IO ()
main = do
  name <- getLine
  putStrLn ("Grüße, " ++ name ++ "!")
  exitWith (ExitFailure 3)
