package upgrade

var meanings []meaning
