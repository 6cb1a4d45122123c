"""What is done to stored data as a whole: erasing a person, exchanging keys, sealing anew."""
