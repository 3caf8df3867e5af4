print("torc-simulate")
