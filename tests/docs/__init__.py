"""What the pages of docs/ say of the code and the tests, held to them."""
