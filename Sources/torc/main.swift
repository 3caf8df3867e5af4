print("torc")
