package claim

var hop2 = []Claim{}
