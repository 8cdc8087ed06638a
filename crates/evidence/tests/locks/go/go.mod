module example.com/shop

go 1.23

require (
	github.com/BurntSushi/toml v1.4.0
	github.com/docker/docker v28.0.0+incompatible
	golang.org/x/text v0.14.0
)

replace golang.org/x/text => golang.org/x/text v0.15.0
