main :: IO ()
main = do
  numbers <- fmap (map read . words) getLine :: IO [Int]
  word <- getLine
  print (sum numbers)
  putStrLn (word ++ "→ok")
