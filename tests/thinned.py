"""Tests of which `make test` runs some cases or none, because others show the same behaviour.

They repeat it for more vendors, values or database engines, or fail only together with a cheaper test. A
full run takes all of them, and so does a command that names single cases. The cases taken are spread, and
each test begins at another place, so that every vendor occurs in some tests. A new vendor has all cases of
the conformance kit, until its name is in `KNOWN`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from zlib import crc32

# Of the engines of a database and the servers of tiers one is taken by a test, in turns.
TURNS = (("sqlite", "postgresql"), ("valkey", "redis"))
# These tests differ between the engines: locks, types, isolation, and the tables themselves.
BOTH_ENGINES = frozenset(
    f"tests/db/test_{name}.py"
    for name in (
        "locks", "schema", "types",
    )
)  # fmt: skip

# The conformance kit takes some cases of these vendors, and all of any other, so that a new one is examined.
KNOWN = frozenset(
    (
        "alpaca", "alpha_vantage", "binance", "ccxt", "coingecko", "eodhd", "finnhub", "fmp", "local",
        "polygon", "tiingo", "twelvedata", "yahoo",
    )
)  # fmt: skip

# Over more vendors.
VENDORS: dict[str, dict[str, int]] = {
    "tests/research/sources/test_documented_adapters.py": {
        "test_from_a_vendor_to_a_dataset_that_is_found": 1,
    },
    "tests/core/bars/test_pairs_of_vendors.py": {
        "test_each_pair_of_vendors_gets_the_documented_verdict": 8,
    },
    "tests/conformance/test_alone.py": {
        "test_a_field_of_any_type_ends_no_call": 1,
        "test_a_page_for_people_is_no_proof_that_nothing_traded": 1,
        "test_a_part_of_another_shape_is_never_a_wrong_bar_and_never_nothing": 1,
        "test_nothing_but_bad_rows_is_rejected_and_never_final": 1,
        "test_stamps_off_the_grid_end_nothing": 1,
    },
    "tests/conformance/test_conformance.py": {
        "test_each_vendor": 13,
        "test_vendor": 32,
    },
    "tests/conformance/test_own_ways.py": {
        "test_bars_are_complete_if_the_span_needs_several_requests": 1,
        "test_recorded_refusals_over_the_wire": 6,
    },
    "tests/conformance/test_paging.py": {
        "test_pages_of_any_size_join_without_lost_or_doubled_bars": 1,
    },
    "tests/conformance/test_recordings.py": {
        "test_recorded_bars_are_bars": 8,
        "test_recorded_errors_are_errors": 13,
    },
    "tests/conformance/test_shapes.py": {
        "test_a_changed_answer_is_told_once_a_day": 4,
        "test_no_answer_of_the_vendor_server_is_otherwise": 1,
        "test_recorded_bars_are_of_the_shape_that_is_known": 11,
    },
    "tests/e2e/test_actions_asked.py": {
        "test_a_refused_key_is_not_sent_again_for_the_next_symbol_or_process": 1,
        "test_a_request_for_raw_prices_fetches_only_bars": 1,
    },
    "tests/e2e/test_actions_of_lone_vendors.py": {
        "test_a_vendor_that_refuses_everything_gets_at_most_one_request_for_bars_and_for_actions": 1,
        "test_a_vendor_that_reports_the_same_split_does_not_dispute_it": 1,
        "test_a_refused_actions_request_is_not_repeated_for_every_symbol": 1,
        "test_get_actions_returns_all_actions_of_any_vendor_and_then_from_the_cache": 1,
    },
    "tests/e2e/test_withdrawn_actions.py": {
        "test_a_corrected_dividend_is_right_after_two_nights_and_in_doubt_until_then": 3,
        "test_a_reverse_split_that_is_taken_back_after_three_days_is_not_applied_any_more": 3,
        "test_an_adjusted_close_that_reflects_a_withdrawn_dividend_is_left_out_until_a_refresh": 2,
    },
    "tests/core/runtime/test_forks.py": {
        "test_a_child_forked_during_the_first_request_of_a_thread_gets_bars": 2,
        "test_threads_that_need_polars_at_the_same_time_get_all_of_it": 1,
    },
    "tests/e2e/test_closed_markets.py": {
        "test_a_pinned_vendor_takes_its_bars_off_the_calendar_from_the_default_lane": 1,
        "test_a_request_during_a_closed_market_hides_no_bar_of_the_next_week": 1,
        "test_the_order_of_requests_does_not_change_which_early_bars_are_returned": 1,
    },
    "tests/e2e/test_empty_answers.py": {
        "test_an_empty_answer_distinguishes_a_requested_weekend_from_one_never_requested": 1,
        "test_a_request_before_a_listing_is_empty_with_its_reason": 1,
    },
    "tests/e2e/test_every_vendor_failing.py": {
        "test_a_vendor_of_another_kind_supplies_all_bars_and_is_named_as_a_substitute": 1,
        "test_a_vendor_that_fails_for_all_bars_is_named_for_none": 1,
        "test_a_vendor_that_lacks_some_bars_is_named_for_the_others": 1,
    },
    "tests/e2e/test_extended_hours.py": {
        "test_each_vendor_with_extended_hours_supplies_bars_from_four_to_twenty": 1,
    },
    "tests/e2e/test_holes.py": {
        "test_a_hole_between_two_pages_is_refetched_at_once_and_not_recorded": 1,
        "test_a_hole_between_two_pages_that_fails_to_refetch_is_not_recorded": 1,
        "test_an_old_hole_is_refetched_after_a_day_and_then_later_and_later": 1,
        "test_bars_of_a_long_vendor_silence_are_fetched_within_days_of_its_end": 1,
        "test_a_hole_that_could_not_be_rechecked_is_requested_from_the_next_vendor": 1,
        "test_a_hole_of_one_vendor_is_filled_from_the_next_in_the_same_call": 1,
    },
    "tests/e2e/test_holidays.py": {
        "test_currencies_have_no_gap_on_days_with_an_early_close": 1,
        "test_a_gap_in_years_of_unknown_holidays_is_reported_as_a_possible_holiday": 1,
        "test_minutes_without_a_trade_in_extended_hours_are_not_gaps": 1,
    },
    "tests/e2e/test_last_bars.py": {
        "test_a_friday_end_returns_no_bar_of_sunday": 4,
        "test_the_last_bars_of_a_share_have_all_closed_by_the_end": 6,
    },
    "tests/e2e/test_listing_proofs.py": {
        "test_a_bar_before_a_hole_on_the_first_day_disproves_a_listing_there": 1,
        "test_a_vendor_added_later_supplies_the_early_bars_that_another_lacks": 1,
        "test_history_truncated_by_its_only_vendor_is_never_complete": 1,
    },
    "tests/e2e/test_live_feeds.py": {
        "test_polled_bars_are_delivered_once_and_stored": 1,
    },
    "tests/e2e/test_markets.py": {
        "test_plan_and_explain_reject_a_vendor_that_serves_only_us_stocks": 1,
        "test_a_vendor_of_another_market_is_not_logged_as_a_fallback": 1,
    },
    "tests/e2e/test_number_of_bars.py": {
        "test_derived_bars_are_as_many_as_requested_after_a_long_empty_span": 1,
        "test_a_number_of_minutes_reaches_back_over_minutes_without_a_trade": 1,
    },
    "tests/e2e/test_order_of_questions.py": {
        "test_any_order_of_requests_gives_the_same_bars_or_a_gap": 1,
        "test_hours_before_the_open_are_fetched_if_earlier_weeks_have_such_hours": 1,
        "test_bars_of_a_sunday_are_the_same_whatever_was_requested_before": 1,
    },
    "tests/e2e/test_outages.py": {
        "test_a_substitute_is_used_only_during_an_outage": 1,
    },
    "tests/e2e/test_recordings.py": {
        "test_every_vendor_is_replayed_without_its_key": 1,
    },
    "tests/e2e/test_regular_hours.py": {
        "test_regular_hours_are_cut_out_of_the_bars_of_every_vendor_with_extended_hours": 1,
    },
    "tests/e2e/test_rescaled_answers.py": {
        "test_final_bars_multiplied_by_a_factor_are_not_taken_as_a_revision": 1,
    },
    "tests/e2e/test_same_answer.py": {
        "test_a_request_has_one_answer_after_given_steps": 1,
        "test_a_request_has_one_answer_after_random_steps": 1,
        "test_an_answer_without_the_vendors_splits_is_right_or_marked": 1,
    },
    "tests/e2e/test_unknown_here_alone.py": {
        "test_a_symbol_unknown_to_one_vendor_is_not_unknown_if_another_has_no_closed_bar_yet": 1,
    },
    "tests/e2e/test_vendors_with_keys.py": {
        "test_an_unreadable_answer_is_not_counted_as_a_success": 1,
        "test_a_fetch_with_a_key_returns_true_bars_within_the_daily_limit": 1,
    },
    "tests/e2e/test_wrong_clocks.py": {
        "test_a_split_applied_by_the_vendor_is_not_applied_twice_once_the_clock_is_right": 1,
        "test_bars_before_and_after_a_split_match_even_under_a_clock_behind": 1,
        "test_prices_fetched_under_a_clock_behind_without_a_date_header_are_suspect": 1,
    },
    "tests/e2e/test_year_quality.py": {
        "test_problems_of_a_year_are_reported_with_every_answer": 1,
    },
    "tests/feed/test_built_bars.py": {
        "test_bars_of_five_minutes_are_streamed": 1,
    },
    "tests/feed/test_odd_messages.py": {
        "test_a_clock_that_is_set_while_it_streams_changes_no_bar": 5,
        "test_no_odd_message_stops_a_stream_or_becomes_a_bar": 1,
        "test_no_strange_value_anywhere_stops_a_stream_or_becomes_a_bar": 1,
    },
    "tests/feed/test_seams.py": {
        "test_a_clock_ahead_of_or_behind_the_vendors_moves_no_bar": 1,
    },
    "tests/core/fundamentals/test_faults.py": {
        "test_one_bad_vendor_does_not_spoil_the_other": 4,
    },
    "tests/jobs/test_populate.py": {
        "test_a_vendor_that_fails_for_bars_missing_at_the_next_one_is_a_failure": 1,
    },
    "tests/research/loading/test_providers.py": {
        "test_each_declared_provider_asks_its_vendor_with_the_key_it_was_given": 1,
    },
    "tests/research/loading/test_tier_faults.py": {
        "test_other_clients_serve_as_well": 1,
    },
    "tests/core/vendors/test_carriers.py": {
        "TestByRequests::test_every_error_of_a_vendors_package_becomes_a_typed_error_without_the_key": 10,
    },
}

# Over more values, damages and places.
VALUES: dict[str, dict[str, int]] = {
    "tests/core/bars/test_answer_cache.py": {
        "test_bars_of_shares_are_cached_until_the_next_session": 2,
    },
    "tests/core/bars/test_calculated.py": {
        "test_longer_bars_are_calculated_from_two_years_of_minutes": 2,
    },
    "tests/core/bars/test_derive.py": {
        "test_a_timeframe_is_built_from_the_longest_that_divides_it_and_only_that_is_stored": 1,
        "test_a_forming_bar_is_returned_if_requested_and_never_stored": 1,
    },
    "tests/core/bars/test_failed_and_none.py": {
        "test_the_failure_is_the_reason_until_the_vendor_answers": 1,
    },
    "tests/core/bars/test_outcome_matrix.py": {
        "test_each_outcome_at_each_position_leads_to_the_documented_queries_and_bars": 6,
        "test_each_of_two_segments_of_one_request_has_its_own_outcome": 3,
    },
    "tests/research/bundles/test_bundle_row.py": {
        "test_a_symbol_without_an_answer_lacks_all_of_its_bars": 2,
    },
    "tests/research/lineage/test_lineage.py": {
        "test_recorded_actions_reproduce_adjusted_prices_despite_later_ones": 1,
        "test_a_run_id_of_any_text_is_found_and_cannot_be_reused": 1,
    },
    "tests/research/lineage/test_lineage_edges.py": {
        "test_recording_a_read_takes_the_same_effort_after_many_others": 1,
    },
    "tests/core/cache/test_adopt.py": {
        "test_a_process_killed_while_converting_an_older_file_loses_no_bar": 1,
    },
    "tests/core/cache/test_bit_rot.py": {
        "test_a_document_with_invalid_values_is_handled_like_a_lost_one": 1,
        "test_a_flipped_bit_loses_only_its_own_member": 1,
        "test_a_flipped_bit_of_a_document_loses_no_bar": 1,
        "test_a_member_with_invalid_header_values_loses_only_its_bars": 1,
        "test_an_empty_file_is_not_taken_for_a_year_without_bars": 2,
        "test_every_flipped_bit_of_a_document_is_detected": 2,
        "test_a_year_file_truncated_anywhere_loses_only_the_bars_that_are_cut_off": 1,
        "test_a_document_truncated_anywhere_loses_no_bar": 1,
        "test_garbage_after_the_last_member_is_quarantined_and_no_bar_is_lost": 3,
        "test_a_flipped_bit_without_metadata_loses_only_its_own_member": 1,
        "test_swapped_files_give_no_bars_of_another_series": 1,
    },
    "tests/core/cache/test_check_and_recovery.py": {
        "test_a_check_predicts_what_recovery_does_and_changes_no_file": 15,
    },
    "tests/core/cache/test_columnar.py": {
        "test_the_second_read_opens_no_year_file": 1,
        "test_a_change_of_returned_columns_does_not_change_the_store": 1,
        "test_columns_equal_the_year_files_after_random_commits": 1,
        "test_a_truncated_columnar_file_is_ignored": 3,
    },
    "tests/core/cache/test_columnar_attacks.py": {
        "test_a_damaged_timestamp_read_by_a_binary_search_changes_no_answer": 1,
        "test_a_forged_columnar_header_does_not_change_the_answer": 5,
        "test_flipped_bits_in_a_long_columnar_file_change_no_answer": 1,
        "test_years_cleared_and_filled_with_other_bars_return_the_new_bars": 1,
    },
    "tests/core/cache/test_columnar_crashes.py": {
        "test_any_part_of_a_columnar_file_may_be_lost_in_a_power_failure": 1,
        "test_a_process_killed_at_any_disk_call_changes_no_answer": 1,
        "test_a_failure_of_any_disk_call_changes_no_answer": 1,
        "test_random_operations_leave_the_answers_of_a_reference_model": 1,
    },
    "tests/core/cache/test_columnar_reader.py": {
        "test_a_changed_value_in_any_block_is_reported_as_damage": 4,
    },
    "tests/core/cache/test_commit.py": {
        "test_a_process_killed_while_it_stores_an_empty_answer_keeps_the_older_bars": 1,
    },
    "tests/core/cache/test_crash_states.py": {
        "test_acknowledged_actions_survive_a_power_failure": 1,
        "test_a_power_failure_during_the_adoption_of_an_older_file_loses_no_bar": 1,
        "test_a_power_failure_at_any_time_loses_no_acknowledged_bar": 2,
        "test_an_interrupted_repair_can_be_completed": 1,
        "test_a_commit_after_a_kill_survives_a_crash": 1,
        "test_bars_that_were_read_after_a_kill_survive_a_crash": 1,
    },
    "tests/core/cache/test_csv_rows.py": {
        "test_blocks_of_market_numbers_equal_numbers_encoded_one_by_one": 1,
    },
    "tests/core/cache/test_document_reads.py": {
        "test_the_view_after_a_failed_commit_equals_that_of_a_new_process": 5,
    },
    "tests/core/cache/test_migrate.py": {
        "test_a_migration_killed_at_any_disk_call_loses_no_bar": 1,
    },
    "tests/core/cache/test_range_reader.py": {
        "test_years_of_this_library_and_of_older_tools_are_read_together": 1,
    },
    "tests/core/cache/test_recover.py": {
        "TestDataDamaged::test_a_damaged_member_between_sound_ones_loses_only_its_bars": 1,
    },
    "tests/core/cache/test_segments.py": {
        "test_corrected_years_equal_years_encoded_number_by_number": 1,
    },
    "tests/core/cache/test_series_index.py": {
        "test_a_used_index_equals_a_new_one": 1,
    },
    "tests/core/cache/test_store_faults.py": {
        "test_a_commit_with_any_failing_disk_call_keeps_old_or_new_bars": 1,
        "test_a_writer_killed_at_any_disk_call_leaves_old_or_new_bars": 1,
    },
    "tests/core/cache/test_table_faults.py": {
        "test_a_damaged_document_causes_a_new_request_and_loses_no_row": 1,
        "test_a_full_disk_loses_no_row": 1,
        "test_a_process_killed_by_sigkill_loses_no_row": 1,
        "test_damaged_tables_count_as_missing_and_are_quarantined_whole": 1,
    },
    "tests/core/cache/test_writers.py": {
        "test_concurrent_writers_and_readers_lose_no_bar": 1,
    },
    "tests/core/calendars/test_answer_files.py": {
        "test_a_closure_that_the_library_lacks_is_no_session": 2,
        "test_sessions_and_hours_are_those_that_are_published": 2,
        "test_holidays_that_pandas_3_loses": 3,
    },
    "tests/core/calendars/test_calendar.py": {
        "test_the_span_of_a_date_follows_the_instruments_sessions": 4,
    },
    "tests/core/calendars/test_exchange.py": {
        "test_a_calendar_that_the_library_cannot_build_is_weekdays_and_says_so": 1,
        "test_days_without_a_session_in_new_york": 4,
    },
    "tests/core/calendars/test_gaps.py": {
        "test_holes_are_the_expected_bars_that_did_not_come": 10,
        "test_every_expected_bar_that_is_not_held_is_asked_for_and_nothing_that_is_trusted": 16,
    },
    "tests/show/test_notebook.py": {
        "test_a_notebook_stays_small": 2,
    },
    "tests/show/charts/test_pictures.py": {
        "test_a_png_has_its_size_and_the_colours_of_its_elements": 1,
        "test_hostile_texts_are_texts_in_every_picture": 1,
    },
    "tests/cli/test_demo.py": {
        "test_the_output_of_demo_fits_the_terminal": 1,
    },
    "tests/cli/test_lanes.py": {
        "test_commands_use_the_lane_that_answers": 1,
        "test_the_command_of_a_gap_fills_the_gap_in_its_lane": 1,
        "test_the_older_tools_fill_the_gaps_of_the_lane_that_answers": 1,
        "test_the_remedy_of_a_difference_is_of_its_lane": 1,
        "test_a_missing_day_counts_once_a_symbol_in_the_lane_that_answers": 1,
        "test_perishable_bars_are_reported_for_the_lane_that_answers": 1,
    },
    "tests/cli/test_main.py": {
        "test_outputs_that_were_closed_change_no_exit_code": 1,
    },
    "tests/cli/test_plan.py": {
        "test_the_output_of_plan_and_explain_fits_the_terminal": 1,
    },
    "tests/cli/test_populate.py": {
        "test_a_signal_ends_populate_with_a_report_and_the_next_run_fetches_the_rest": 1,
        "test_the_modules_of_old_end_with_1_when_a_vendor_is_down": 1,
    },
    "tests/cli/test_providers.py": {
        "test_every_vendor_can_be_shown": 4,
    },
    "tests/cli/test_validate.py": {
        "test_a_dry_run_of_validate_predicts_the_requests_to_each_vendor": 1,
    },
    "tests/cli/test_verify.py": {
        "test_a_table_fits_the_terminal": 1,
    },
    "tests/cli/test_live.py": {
        "test_a_terminal_shows_one_screen_that_is_painted_anew": 1,
    },
    "tests/core/config/test_trust.py": {
        "test_a_variable_of_other_keys": 12,
    },
    "tests/corpus/test_answers.py": {
        "test_a_right_move_is_not_doubted": 1,
        "test_certain_defects_are_grave_in_the_answer_and_refused_by_strict": 1,
    },
    "tests/corpus/test_labels.py": {
        "test_labels_name_rows_of_the_file_and_all_that_cannot_be_bars": 8,
        "test_the_file_is_the_one_that_was_labelled": 8,
    },
    "tests/db/test_faults.py": {
        "test_a_disk_that_is_full_at_the_first_use": 1,
        "test_a_torn_log_costs_the_last_units_at_most": 1,
        "test_an_unreadable_database_is_never_replaced": 3,
    },
    "tests/db/test_records_processes.py": {
        "test_no_update_is_lost": 1,
    },
    "tests/db/test_records_trading.py": {
        "test_positions_are_exact_to_the_last_digit": 1,
    },
    "tests/db/test_symbol_refresh.py": {
        "test_symbol_work_killed_at_any_statement_is_all_or_nothing": 1,
    },
    "tests/e2e/test_actions.py": {
        "test_the_series_is_the_same_whichever_vendor_fails": 1,
    },
    "tests/e2e/test_actions_asked.py": {
        "test_actions_that_tiingo_refuses_are_not_requested_again_for_the_next_symbol": 1,
    },
    "tests/e2e/test_archive.py": {
        "test_a_faulty_archive_is_replaced_by_pages_and_the_attempts_give_the_reason": 1,
    },
    "tests/e2e/test_bad_answers.py": {
        "test_an_answer_that_cannot_be_parsed_is_never_recorded_as_empty": 1,
    },
    "tests/e2e/test_barred_others.py": {
        "test_an_unreadable_actions_file_stops_only_its_symbol": 1,
        "test_an_actions_file_with_invalid_content_is_reported_and_fetched_again": 2,
        "test_an_unreadable_file_of_figures_stops_only_its_year": 1,
        "test_an_unreadable_file_of_fundamentals_leaves_other_vendors_readable": 4,
    },
    "tests/e2e/test_barred_years.py": {
        "test_something_else_in_place_of_a_file_is_an_error_that_names_it_until_it_is_moved": 1,
    },
    "tests/e2e/test_call_budget.py": {
        "test_every_method_ends_within_its_timeout_whatever_the_server_does": 1,
        "test_every_method_ends_within_its_timeout_if_no_host_name_resolves": 1,
        "test_work_on_a_long_answer_stops_at_the_timeout_of_the_call": 1,
    },
    "tests/e2e/test_clock_during_a_job.py": {
        "test_no_bar_is_stored_before_its_close_and_none_is_lost": 1,
    },
    "tests/e2e/test_closed_by.py": {
        "test_closed_by_returns_the_bars_that_were_visible_then": 1,
    },
    "tests/e2e/test_damage_in_a_call.py": {
        "test_a_damaged_year_is_fetched_again_in_the_same_call": 1,
        "test_a_plan_of_a_damaged_series_repairs_no_file_and_predicts_the_call": 1,
        "test_a_plan_of_a_half_committed_series_changes_no_file_and_predicts_the_call": 1,
        "test_bars_lost_by_damage_outside_the_requested_range_are_fetched_by_the_next_call": 1,
    },
    "tests/e2e/test_damaged_figures.py": {
        "test_damaged_figures_that_are_refetched_only_in_part_leave_a_gap": 1,
        "test_damaged_figures_that_the_vendor_no_longer_has_are_a_gap_and_not_empty": 1,
        "test_corrupt_figures_are_fetched_again": 1,
        "test_corrupt_figures_that_no_vendor_has_any_more_are_a_gap": 1,
        "test_an_empty_answer_is_complete_if_the_damaged_figures_had_no_rows": 1,
    },
    "tests/e2e/test_deleted_meanwhile.py": {
        "test_bars_deleted_before_they_are_read_are_fetched_again": 2,
    },
    "tests/e2e/test_derived.py": {
        "test_timeframes_that_a_coin_venue_does_not_serve_are_derived_from_shorter_bars": 1,
        "test_weeks_and_months_over_a_split_and_dividends_equal_the_true_ones": 1,
    },
    "tests/e2e/test_disk_trouble.py": {
        "test_a_job_ends_when_the_disk_is_full_and_the_next_one_continues": 1,
        "test_bars_that_cannot_be_stored_are_returned": 1,
    },
    "tests/e2e/test_effort_of_hits.py": {
        "test_reading_some_bars_takes_under_a_third_of_the_memory_of_the_file": 1,
    },
    "tests/e2e/test_grave_bars.py": {
        "test_grave_bars_of_a_lone_vendor_are_returned_with_a_warning_and_not_refetched_at_once": 1,
        "test_grave_bars_are_replaced_by_right_ones_of_a_second_vendor_in_the_same_call": 1,
        "test_grave_bars_that_their_vendor_corrects_become_final": 1,
        "test_grave_bars_are_accepted_after_the_vendor_repeats_them_three_times": 2,
        "test_grave_bars_lower_the_score_of_their_year_until_they_are_accepted": 1,
    },
    "tests/e2e/test_holes.py": {
        "test_a_hole_of_bars_put_into_the_cache_is_not_covered": 1,
        "test_a_run_of_missing_bars_far_longer_than_usual_for_a_sparse_vendor_is_a_hole": 1,
        "test_bars_of_vendors_that_all_lack_too_many_are_combined_and_marked_suspect": 1,
    },
    "tests/e2e/test_conformance_kit.py": {
        "test_our_own_downloaders_pass_the_examination_of_the_kit": 1,
    },
    "tests/e2e/test_last_bars.py": {
        "test_the_last_bars_equal_the_end_of_those_closed_by_the_same_time": 2,
    },
    "tests/e2e/test_log_context.py": {
        "test_every_log_record_of_a_call_names_the_call": 2,
    },
    "tests/e2e/test_long_values.py": {
        "test_no_long_argument_makes_a_message_long": 26,
    },
    "tests/e2e/test_nightly_updates.py": {
        "test_a_file_updated_nightly_is_as_small_as_one_fetched_at_once": 1,
        "test_nine_nightly_updates_and_one_call_have_the_same_fingerprint": 1,
    },
    "tests/e2e/test_number_of_bars.py": {
        "test_only_the_end_is_fetched_right_after_a_close_whichever_stored_bar_is_missing": 2,
        "test_the_requested_number_of_hours_comes_from_own_files": 1,
        "test_the_requested_number_of_hours_from_own_files_is_returned_with_an_empty_cache": 1,
    },
    "tests/e2e/test_off_grid.py": {
        "TestOffTheGrid::test_bars_in_place_of_rows_off_the_grid_come_from_the_next_vendor": 2,
    },
    "tests/e2e/test_order_of_questions.py": {
        "test_minutes_of_a_holiday_before_a_cached_day_are_fetched_once": 1,
        "test_any_order_of_the_same_requests_gives_the_same_answers_and_stored_bars": 1,
        "test_own_files_are_read_even_when_the_calendar_is_closed": 1,
    },
    "tests/e2e/test_outages.py": {
        "test_populate_cache_reports_a_substitute_as_a_failure": 1,
        "test_counted_derived_and_refreshed_requests_also_have_one_answer_during_an_outage": 1,
        "test_an_answer_for_a_coin_during_an_outage_does_not_depend_on_cached_bars": 1,
        "test_an_answer_for_a_share_during_an_outage_does_not_depend_on_cached_bars": 1,
    },
    "tests/e2e/test_own_downloaders.py": {
        "test_a_custom_downloader_is_paused_after_five_failures_until_a_trial_succeeds": 1,
        "test_a_key_in_an_error_of_a_custom_downloader_is_masked": 4,
        "test_a_key_from_any_variable_is_masked_in_an_error_of_a_custom_downloader": 8,
        "test_data_other_than_bars_is_paused_after_five_failures_until_a_trial_succeeds": 2,
        "test_limits_for_a_custom_downloader_count_figures_and_fundamentals": 2,
        "test_a_custom_downloader_without_limits_is_never_throttled": 1,
    },
    "tests/e2e/test_own_folders.py": {
        "test_a_changed_own_file_is_read_again": 1,
        "test_a_folder_recorded_again_is_read_again": 1,
        "test_a_percent_sign_in_the_name_of_a_recording_is_taken_literally": 1,
        "test_a_redirected_link_is_followed_to_the_new_folder_at_once": 1,
        "test_every_request_under_the_rules_reads_the_current_local_file": 1,
        "test_every_request_reads_the_current_files_of_its_own_folder": 1,
        "test_longer_bars_are_built_from_the_minutes_of_an_own_file": 1,
    },
    "tests/e2e/test_pages.py": {
        "test_a_page_runs_as_one_program": 1,
    },
    "tests/e2e/test_pitfalls.py": {
        "test_an_answer_names_the_unit_and_the_venue_of_its_volume": 1,
    },
    "tests/e2e/test_plan.py": {
        "test_a_plan_of_years_of_minutes_takes_little_memory": 1,
        "test_a_request_sends_what_its_plan_predicts_whatever_is_cached": 1,
    },
    "tests/e2e/test_processes_and_paths.py": {
        "test_a_number_of_bars_counts_closed_ones_and_the_running_one_is_added": 1,
    },
    "tests/e2e/test_quotes.py": {
        "test_the_state_and_change_of_a_share_quote_follow_its_session": 3,
        "test_quotes_are_right_after_splits_holidays_delistings_and_halts": 1,
    },
    "tests/e2e/test_random_requests.py": {
        "test_random_requests_during_faults_return_true_bars_or_list_their_gaps": 1,
    },
    "tests/e2e/test_read_only.py": {
        "test_bars_are_returned_from_a_read_only_home_and_one_warning_names_the_variable": 1,
    },
    "tests/e2e/test_recordings.py": {
        "test_a_file_that_cannot_be_read_is_named": 1,
        "test_a_replayed_recording_contains_splits_and_dividends": 1,
    },
    "tests/e2e/test_regular_hours.py": {},
    "tests/e2e/test_rules_decide.py": {
        "test_the_first_vendor_of_the_rules_supplies_batches_counts_quotes_and_feeds": 1,
        "test_the_first_vendor_of_the_rules_supplies_the_answer_whatever_is_cached": 1,
        "test_cached_bars_of_another_kind_are_a_marked_substitute_while_the_first_vendor_is_down": 1,
    },
    "tests/e2e/test_same_answer.py": {
        "test_two_splits_of_ten_are_not_taken_for_a_change_of_units": 1,
    },
    "tests/e2e/test_secrets.py": {
        "test_no_response_of_a_vendor_leaks_the_key": 5,
        "test_the_command_line_leaks_no_key_of_the_environment": 1,
    },
    "tests/e2e/test_splices.py": {
        "test_right_bars_next_to_bars_with_a_partly_applied_split_are_not_corrected": 1,
        "test_prices_of_every_vendor_that_do_not_match_leave_a_gap_with_the_reason": 2,
    },
    "tests/e2e/test_spoilt_rows.py": {
        "test_a_replay_feed_delivers_no_spoilt_row": 3,
        "test_a_spoilt_row_of_a_frame_put_by_a_program_is_never_stored": 3,
        "test_a_spoilt_row_is_a_problem_of_the_answer_and_never_stored": 3,
        "test_a_polled_feed_delivers_no_spoilt_row": 1,
        "test_a_quote_ignores_spoilt_rows": 3,
        "test_a_spoilt_row_of_a_recording_is_a_problem_and_never_stored": 1,
        "test_a_spoilt_row_of_own_files_is_a_problem_and_never_stored": 1,
    },
    "tests/e2e/test_strange_files.py": {
        "test_a_pipe_link_or_device_in_place_of_a_file_is_neither_read_nor_followed": 5,
    },
    "tests/e2e/test_universe_batches.py": {
        "test_sessions_are_counted_in_every_timeframe": 2,
    },
    "tests/e2e/test_versions.py": {
        "test_a_version_is_adjusted_by_its_own_basis": 1,
        "test_versions_of_deleted_bars_are_refused_and_their_numbers_not_reused": 2,
    },
    "tests/e2e/test_workload.py": {
        "test_the_cost_of_a_week_of_nightly_updates_and_lookups_is_bounded": 1,
    },
    "tests/e2e/test_wrong_clocks.py": {
        "test_a_clock_ahead_during_one_fetch_loses_no_bar": 1,
        "test_a_running_bar_is_never_final_under_a_clock_that_stays_ahead": 1,
    },
    "tests/e2e/test_year_quality.py": {
        "test_the_quality_of_a_year_keeps_problems_of_earlier_answers": 1,
    },
    "tests/feed/test_backtrader_feed.py": {
        "test_resampled_live_equals_the_backtest": 1,
    },
    "tests/feed/test_backtrader_shortcuts.py": {
        "test_every_cerebro_setting_gives_the_same_run_as_plain_backtrader": 1,
        "test_each_setting_gives_the_same_run_as_plain_backtrader_data": 1,
    },
    "tests/feed/test_begun_in_an_outage.py": {
        "test_a_clock_that_is_set_in_any_phase_of_an_outage_loses_no_bar": 4,
        "test_a_clock_that_is_set_while_history_is_loaded_loses_no_bar": 4,
        "test_a_feed_begun_in_any_phase_of_an_outage_loses_no_bar": 1,
    },
    "tests/feed/test_optstrategy.py": {
        "test_two_processes_have_the_results_of_one": 1,
    },
    "tests/feed/test_refused.py": {
        "test_streamed_values_that_cannot_be_a_bar_are_dropped_and_reported": 8,
    },
    "tests/feed/test_replay.py": {
        "test_long_waits_are_announced": 1,
    },
    "tests/feed/test_sick_streams.py": {
        "test_after_a_failed_handshake_the_feed_reconnects": 1,
        "test_an_invalid_message_loses_no_bar": 1,
        "test_the_watchdog_notices_a_stall": 1,
    },
    "tests/feed/test_timeout.py": {
        "test_history_and_holes_of_a_stream_are_fetched_within_the_feeds_timeout": 1,
        "test_each_polled_bar_is_fetched_within_the_feeds_timeout": 1,
    },
    "tests/core/fundamentals/test_service.py": {
        "test_a_faulty_downloader_of_another_program_counts_as_failed": 3,
    },
    "tests/core/hosts/test_replay.py": {
        "test_an_empty_host_gets_the_same_bytes": 1,
        "test_users_that_switch_between_two_hosts_read_one_store": 1,
    },
    "tests/jobs/test_health.py": {
        "test_integrity_is_not_ok_with_any_damage": 1,
        "test_integrity_covers_tables_and_fundamentals": 1,
    },
    "tests/jobs/test_overlap.py": {
        "test_three_vendors_take_no_longer_than_the_slowest_alone": 1,
    },
    "tests/jobs/test_perishable.py": {
        "test_figures_soon_beyond_a_vendors_history_are_reported": 1,
    },
    "tests/jobs/test_populate.py": {
        "test_a_vendor_that_is_down_is_a_failure_even_with_cached_bars": 1,
    },
    "tests/jobs/test_quarantine.py": {
        "test_a_bar_from_before_a_split_is_restored_converted_or_not_at_all": 1,
    },
    "tests/jobs/test_signals.py": {
        "test_a_signal_after_the_last_series_does_not_lose_the_report": 1,
    },
    "tests/jobs/test_verify.py": {
        "test_verify_finds_no_difference_in_fetched_bars": 1,
    },
    "tests/core/model/test_coverage_growth.py": {
        "test_twice_the_stretches_take_about_twice_the_work": 2,
    },
    "tests/core/model/test_http.py": {
        "test_json_that_would_take_too_much_is_not_parsed": 1,
    },
    "tests/core/net/test_certificates.py": {
        "test_a_certificate_with_one_fault_is_refused_before_anything_is_sent": 5,
        "test_a_sound_certificate_is_accepted": 2,
        "test_all_transports_trust_the_certificates_of_the_first_variable_set": 2,
    },
    "tests/core/net/test_deadlines.py": {
        "test_a_request_to_every_misbehaving_server_ends_at_the_deadline": 1,
    },
    "tests/core/net/test_decoder.py": {
        "test_a_compressed_body_is_decoded_from_pieces_of_any_size": 1,
    },
    "tests/core/net/test_outcomes.py": {
        "test_each_error_leads_to_the_next_vendor_or_to_the_caller": 16,
    },
    "tests/core/net/test_secrets.py": {
        "test_no_failure_shows_the_key": 1,
    },
    "tests/packaging/test_installed.py": {
        "test_older_module_paths_run_as_commands": 1,
    },
    "tests/research/frames/test_decimals.py": {
        "test_eight_decimals_come_back_as_the_same_float": 1,
    },
    "tests/research/portal/test_portal_properties.py": {
        "test_no_answer_of_a_portal_has_look_ahead": 1,
    },
    "tests/research/portal/test_portal_requests.py": {
        "test_a_walk_adjusted_for_dividends_costs_one_request_unless_a_session_is_on": 1,
        "test_a_walk_back_costs_one_request_for_each_series_and_has_the_values_of_a_walk_forward": 1,
        "test_a_walk_over_a_cached_range_costs_no_request": 1,
        "test_a_walk_over_an_uncached_range_costs_one_request_for_each_series": 1,
        "test_an_outage_costs_a_portal_no_more_requests_than_a_plain_call": 1,
    },
    "tests/research/frames/test_series_scan.py": {
        "test_every_filter_selects_the_same_rows_as_after_reading": 8,
    },
    "tests/core/prices/judgement/test_grave.py": {
        "test_what_is_grave_is_an_error_of_validate_and_the_reverse": 1,
        "test_a_clean_series_has_no_grave_finding": 7,
        "test_a_stretch_in_another_unit_is_found": 7,
    },
    "tests/core/prices/judgement/test_holes.py": {
        "test_two_stretches_have_the_findings_of_each": 1,
    },
    "tests/core/prices/judgement/test_market.py": {
        "test_in_real_series_only_the_known_defects_are_found": 8,
    },
    "tests/core/prices/judgement/test_planted.py": {
        "test_a_planted_defect_is_found_where_it_is": 1,
        "test_a_repaired_series_equals_the_clean_one": 1,
        "test_a_clean_series_raises_no_alarm": 7,
    },
    "tests/core/prices/judgement/test_shapes.py": {
        "test_a_right_move_is_not_grave_and_no_error": 1,
        "test_the_work_grows_with_the_rows": 1,
        "test_all_rows_before_a_split_that_they_ignore_are_grave": 8,
        "test_rows_off_by_a_known_factor_are_grave_and_no_others": 5,
    },
    "tests/core/prices/test_closes.py": {
        "TestPublished::test_raw_to_all_and_back_knowing_no_close": 1,
        "TestPublished::test_rounded_as_vendors_do": 1,
    },
    "tests/core/prices/test_conversions.py": {
        "test_regular_hours_are_cut_out_of_extended_hours": 10,
    },
    "tests/core/prices/test_differences.py": {
        "test_a_split_that_one_side_lacks": 10,
    },
    "tests/core/prices/test_quality.py": {
        "TestRealSeries::test_in_real_series_only_the_known_bad_rows_are_found": 1,
    },
    "tests/core/prices/test_resample.py": {
        "test_many_symbols_at_once_are_what_each_of_them_is_alone": 1,
        "test_an_outage_leaves_out_its_bars_alone": 2,
    },
    "tests/jobs/validation/test_service.py": {
        "test_days_that_were_never_requested_do_not_lower_the_score": 2,
    },
    "tests/simulation/test_found_faults.py": {
        "test_a_jump_that_no_market_makes_proves_the_rows_since_the_last_one_wrong": 1,
        "test_a_question_for_splits_alone_takes_the_requests_that_were_planned": 1,
        "test_a_split_after_a_clock_that_was_ahead_is_applied_once_it_is_right": 2,
        "test_a_split_before_a_fetch_by_a_clock_behind_is_applied_once": 1,
        "test_an_empty_object_does_not_tell_that_there_was_no_split": 1,
        "test_before_a_session_opens_its_split_is_not_said_to_be_known": 1,
        "test_the_last_closed_hours_are_told_alike_though_those_before_them_were_asked_for": 1,
        "test_what_a_vendor_tells_is_of_its_own_time_where_the_clock_is_ahead": 1,
    },
    "tests/research/sources/test_cached_foreign.py": {
        "test_a_disk_that_fails_costs_no_answer": 1,
    },
    "tests/research/sources/test_cached_ours.py": {
        "test_history_is_fetched_once_and_no_hole_passes": 1,
    },
    "tests/research/sources/test_effort.py": {
        "test_a_fetch_costs_as_many_requests_for_a_long_range_as_for_two_days": 1,
        "test_a_fetch_of_a_month_of_minutes_or_hours_costs_no_request_more": 1,
    },
    "tests/research/loading/test_doors.py": {
        "test_a_loop_closed_with_questions_under_way_costs_the_next_loop_nothing": 1,
    },
    "tests/doors/utils/test_validation.py": {
        "TestOneJudgement::test_a_column_of_text_is_not_valid": 2,
    },
    "tests/vendor_server/test_ground_truth.py": {
        "test_every_bar_can_be_a_bar": 2,
        "test_longer_bars_of_coins_are_derived_from_shorter_ones": 2,
    },
    "tests/core/vendors/test_adding_a_provider.py": {
        "test_a_failing_stream_ends_only_its_own_feed": 1,
    },
    "tests/core/vendors/test_carriers.py": {
        "TestSocketsByRequests::test_a_forked_child_opens_its_own_connection": 1,
    },
    "tests/core/vendors/test_ccxt_carrier.py": {
        "test_a_malformed_answer_that_ccxt_reads_as_no_bars_is_rejected": 1,
    },
    "tests/core/vendors/test_demo.py": {
        "test_every_bar_equals_the_sample": 2,
    },
    "tests/core/vendors/test_offered_parts.py": {
        "test_a_faulty_stream_of_a_plugin_is_reported_when_requested": 1,
        "test_a_faulty_table_of_a_plugin_is_reported_when_requested": 1,
    },
    "tests/core/vendors/test_plugin_faults.py": {
        "test_a_plugin_that_fails_to_import_is_reported_and_affects_no_other": 2,
        "test_a_fault_of_a_plugin_counts_as_a_failure_of_its_vendor": 5,
        "test_an_answer_of_wrong_types_counts_as_a_failure_of_the_vendor": 1,
    },
    "tests/doors/yf/test_beside_yfinance.py": {
        "test_our_frames_equal_those_of_yfinance_except_for_listed_differences": 4,
    },
    "tests/doors/yf/test_scripts.py": {
        "test_a_script_runs_with_one_other_line": 2,
    },
}

# Left to a full run: tests and single cases that fail only together with a cheaper one, which is named.
# CONTROL takes a precaution out of the package and checks that the fault tests beside it notice: no change of
# the package makes it fail.
CONTROL = "control"
LEFT_OUT: dict[str, str] = dict(
    line.split(" <- ")
    for line in Path(__file__).with_name("left_out.txt").read_text("utf-8").splitlines()
)


def taken(count: int, kept: int, name: str) -> set[int]:
    """Return ``kept`` of ``count`` numbers, spread from a place that depends on ``name``.

    Two axes that are crossed are in step with no equal distance; the golden ratio is no fraction.
    """
    begin = crc32(name.encode()) / 2**32
    chosen = set[int]()
    for n in range(min(kept, count)):
        number = int((begin + n * 0.6180339887) % 1 * count)
        while number in chosen:
            number = (number + 1) % count
        chosen.add(number)
    return chosen


def chosen(name: str, params: Sequence[Mapping[str, object]]) -> list[int]:
    """Return the numbers of the cases of a test that `make test` runs, by the parameters of each."""
    if is_left_out(name):
        return []
    file, _, test = name.partition("::")
    numbers = list(range(len(params)))
    if kept := VENDORS.get(file, {}).get(test) or VALUES.get(file, {}).get(test):
        new = [n for n in numbers if is_of_a_new_vendor(name, params[n])]
        known = [n for n in numbers if n not in new]
        return sorted([*new, *(known[n] for n in taken(len(known), kept, name))])
    if file.startswith(("tests/db/", "tests/research/loading/")) and file not in BOTH_ENGINES:
        for pair in TURNS:
            engines = [engine_of(one, pair) for one in params]
            if set(pair) <= set(engines):
                other = pair[crc32(name.encode()) % 2]
                numbers = [n for n in numbers if engines[n] != other]
    return numbers


def is_of_a_new_vendor(nodeid: str, params: Mapping[str, object]) -> bool:
    """Return whether a case examines a vendor that is not one of those of which some cases are taken."""
    return nodeid.startswith("tests/conformance/") and params.get("vendor", "local") not in KNOWN


def is_left_out(nodeid: str) -> bool:
    """Return whether a case of a test is left to a full run, or the whole test."""
    return nodeid in LEFT_OUT or nodeid.partition("[")[0] in LEFT_OUT


def engine_of(params: Mapping[str, object], pair: Sequence[str]) -> object:
    """Return which of two engines is a parameter of a case: of its database or its server."""
    named = (params.get(name) for name in ("database", "database_url", "_server", "running"))
    return next((value for value in named if isinstance(value, str) and value in pair), None)
