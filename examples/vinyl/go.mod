module vinyl

go 1.24
