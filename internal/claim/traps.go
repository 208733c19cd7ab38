package claim

var traps = []Claim{}
