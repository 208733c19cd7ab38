package claim

var field = []Claim{}
