# No input and no output: it takes what is there, runs whenever it is asked for, and no file of another rule depends on it.
# `make partial` asks for it in a way that neither needs the lock nor a cluster.
rule partial:
    log:
        log_of("partial"),
    localrule: True
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        results=RESULTS,
        trials=TRIALS,
        config=printed_config(),
        configfiles=lambda wildcards: given_configfiles(),
        ladder=LADDER,
    script:
        "../scripts/partial.py"
