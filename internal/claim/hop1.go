package claim

var hop1 = []Claim{}
