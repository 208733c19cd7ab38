package mutant

// Harmless is where a change is planted under which nothing may turn.
const Harmless = "harmless"
