"""What the command line does, and its names for it; without torch until one is asked for."""

COMMANDS = {
    "fit": "Train a network, watch how secure it is, and test its best epoch.",
    "validate": "Measure a network on the validation images.",
    "test": "Measure a network on the test images, attacks included.",
    "attack": "Find out how secure a trained network is at most; writes a report.",
    "convert": "Turn a trained analog network (QCFS or ReLU) into a spiking one.",
    "export": "Write a trained network as a NIR graph, for other frameworks.",
}
LISTS = {
    "models": "networks, for --model.network",
    "neurons": "neurons, for --model.network.init_args.neuron",
    "encoders": "what turns images into current over time, for --model.encoder",
    "gradients": "gradient estimators, for --model.gradient and --gradients",
    "surrogates": "derivatives of the spike, for STBP and others",
    "objectives": "what training minimises, for --model.objective",
    "attacks": "attacks, for --attacks and --attack_evaluation.attacks",
    "data": "data sets, for --data",
    "configs": "configurations that ship with the package, for --config",
}
ALONE = {  # with options of their own, and no network to start from
    "study": "Run what a study lists, and hold it against its claims.",
    "leaderboard": "Compare many evaluations on one page: leaderboard FOLDER...",
    "simulate": "Record images with a simulated event camera.",
    "curve": "A neuron's rate over its current: curve --neuron LIF --leak 0.9",
}
TRAINED = ("attack", "convert", "export")  # they need a checkpoint
