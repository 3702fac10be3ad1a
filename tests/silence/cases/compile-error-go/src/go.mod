module demo

go 1.24
