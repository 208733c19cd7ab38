package claim

var pool = []Claim{}
