package claim

// hop2 is what the guide says about the way from the gateway to the partner.
var hop2 = []Claim{
	{
		ID: "H2-secret-ns", Chapter: Hop2, Section: "§3.1-2, trap 5", Expected: Supported,
		Statement: "A credentialName whose Secret lies in another namespace than the gateway is not found.",
	},
}
