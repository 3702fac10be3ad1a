module parigot.dev/go

go 1.24
