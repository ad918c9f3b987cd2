"""Training: flags, trainer, loss, exact resuming, checkpoints, the run folder and the run itself.

Private names of transformers, accelerate and evaluate that this package overrides or calls. A test holds that each
exists with these parameters and that no other is in use: a new release fails there, by name, and not in somebody's run.

Overridden until the stock Trainer loads a ViT's weights correctly (huggingface/transformers#48805, #48822, #49022):

    Trainer._load_best_model(self)
    Trainer._load_from_checkpoint(self, resume_from_checkpoint, model)

Overridden until its checkpoints appear whole or not at all (huggingface/transformers#35580) and each best evaluation
has one (#40221); called from there:

    Trainer._save_checkpoint(self, model, trial)
    Trainer._determine_best_metric(self, metrics, trial)
    Trainer._get_learning_rate(self)
    Trainer._save_rng_state(self, output_dir)
    Trainer._save_scaler(self, output_dir)

Overridden until resuming is exact within an epoch and before an evaluation that was due
(huggingface/transformers#39215, #46628); called from there:

    Trainer._init_training_state(self, max_steps, num_update_steps_per_epoch, num_train_epochs, ...)
    Trainer._run_epoch(self, model, epoch, train_dataloader, steps_in_epoch, num_update_steps_per_epoch, trial, ...)
    Trainer._maybe_log_save_evaluate(self, tr_loss, grad_norm, model, trial, epoch, ignore_keys_for_eval, ...)
    Trainer._tr_loss
    Trainer._globalstep_last_logged

Overridden for good, since the stock Trainer restores whatever a checkpoint's files hold, also what crashes torch:

    Trainer._load_optimizer_and_scheduler(self, checkpoint)
    Trainer._load_scaler(self, checkpoint)
    Trainer._load_rng_state(self, checkpoint)

Overridden until a sharded run's checkpoint holds the optimizer without a second copy of the weights, and no progress
bar is drawn for each checkpoint; no thread upstream is known:

    Trainer._save_optimizer_and_scheduler(self, output_dir)
    Trainer._save(self, output_dir, state_dict)

Overridden, set or read for good, where transformers has no public way: the order of the faces, the schedule `step`,
one GPU for each process (no `DataParallel`), flags without a value, the commit of a model, the layers that FSDP shards,
a head that is drawn anew:

    Trainer._get_dataloader(self, dataset, description, batch_size, ...)
    Trainer._get_train_sampler(self, train_dataset)
    Trainer._created_lr_scheduler
    TrainingArguments._n_gpu
    HfArgumentParser._parse_dataclass_field(parser, field)
    PretrainedConfig._commit_hash
    PreTrainedModel._no_split_modules
    PreTrainedModel._is_hf_initialized

Overridden until a metric that is computed in memory makes no folder in the user's home (evaluate 0.4.6):

    EvaluationModule._build_data_dir(self)

Of accelerate, public names alone are in use; `Trainer.accelerator.gradient_state.end_of_dataloader` and the loaders'
`base_dataloader` are among them. Its `fsdp2_prepare_model` shards input embeddings by itself (see
`ExpressionTrainer._prepare_sharding`).
"""
